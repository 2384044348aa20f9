"""Results on disk: label maps, overlays for people, records for programs, and writing that is all or nothing."""
