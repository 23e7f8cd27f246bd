"""What each exercise's answer must satisfy: one file per exercise, found by walking this folder."""
