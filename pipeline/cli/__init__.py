"""The command `maskmine`."""
