"""The verb `clinlens screen`: a search for what could name a patient, its review page, sign-off and redaction."""
