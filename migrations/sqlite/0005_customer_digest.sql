-- SQLite has no such digest, and keeps the index over the names themselves.
SELECT 1;
