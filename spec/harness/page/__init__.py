"""The page that a person looks at after a run, made from records and from the text of the specification."""
