"""The fault suite: every row of the catalogue of faults, provoked with the real tools."""
