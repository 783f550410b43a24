"""File formats to volumes and back; nibabel, SimpleITK and LPS live here."""
