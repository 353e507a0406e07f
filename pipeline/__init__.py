"""What turns stages into a build: manifests, planning, runners, commit and resume, provenance, the command line."""
