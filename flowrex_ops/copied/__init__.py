"""A plain folder of files that somebody copied from a site where nothing may be installed, in place of the site."""
