"""report.html of a build: what it was made of, what came out, in pictures and numbers; one file that needs no other."""
