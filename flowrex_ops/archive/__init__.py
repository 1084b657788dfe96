"""What is kept of incidents and runs: folders, timelines and manifests on disk, and what is asked of them later."""
