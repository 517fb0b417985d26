"""The web application: pages for people, an API beside them, nothing from outside."""
