-- The events of purchases have revisions of their own, without gaps: most writes of a purchase make no event.

-- The last revision; 0 if there is none. Purchases that exist get 1 with their next event.
ALTER TABLE purchases ADD COLUMN event_revision INTEGER NOT NULL DEFAULT 0;
-- Its time, before which no later revision is. NULL: there is none.
ALTER TABLE purchases ADD COLUMN event_time TEXT;
