"""Pictures and pages that show what a model reads and how well."""
