"""The command `crnn-captcha`: one thin file per command."""
