SELECT CAST(c.page_count * s.page_size AS BIGINT) FROM pragma_page_count() c, pragma_page_size() s --lite
--pg SELECT pg_database_size(current_database())
