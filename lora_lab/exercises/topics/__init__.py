"""What each task's answer must satisfy: one file per lesson's topic, found by walking this folder."""
