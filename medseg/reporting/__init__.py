"""Tables for programs and pages for people: one page per case, one for the cohort."""
