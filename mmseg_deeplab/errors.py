"""What a user caused and can mend: these errors are shown as one sentence, all others keep their traceback."""


class UserError(ValueError):
    """Something given (a file, a setting, an option) can not be used; the message says what, where and what to do."""


class UserFileNotFoundError(UserError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class UserImportError(UserError, ImportError):
    """A package that is needed for what was asked is not installed, or not in a supported version."""


class UserOSError(UserError, OSError):
    """A file can not be written or read: a full disk, missing permission, a download that breaks off."""
