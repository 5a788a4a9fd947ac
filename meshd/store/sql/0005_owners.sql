-- Whose a project is, so that the agents of one user can be counted and limited.

ALTER TABLE claims ADD COLUMN owner INTEGER;

-- What was looked at before says nothing of owners: the first sweep looks once more.
UPDATE claims SET signature = NULL;
