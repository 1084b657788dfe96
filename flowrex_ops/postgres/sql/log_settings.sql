-- log_settings
-- Where PostgreSQL logs to, what, and in which language.
SELECT current_setting('log_destination') AS destination,
    current_setting('logging_collector') AS collector,
    current_setting('log_min_messages') AS min_messages,
    current_setting('lc_messages') AS language
