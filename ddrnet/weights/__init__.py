"""The weights table: one row per public checkpoint, a file per origin. Loads no torch."""
