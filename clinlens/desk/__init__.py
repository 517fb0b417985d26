"""The analyst's desk: attribution jobs, their API and their pages. The server's side of it never imports torch."""
