"""The processes of a run: who watches, who works, and what each leaves for the next."""
