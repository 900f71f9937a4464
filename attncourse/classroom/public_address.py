"""Where the repository's address leads: shared by the site's build and `tools/address.py`."""

from urllib.parse import urlsplit


def owner_and_name(repository: str) -> tuple[str, str]:
    """Return the two parts of a repository's address.

    Raises
    ------
    ValueError
        If the address is not of the form https://github.com/OWNER/NAME.
    """
    parts = urlsplit(repository)
    names = parts.path.strip("/").removesuffix(".git").split("/")
    if parts.scheme != "https" or parts.netloc != "github.com" or len(names) != 2 or not all(names):
        raise ValueError(f"repository must be https://github.com/OWNER/NAME, got repository={repository!r}")
    return names[0], names[1]


def colab_address(repository: str, page: str) -> str:
    """Return where Colab opens the copy of a page, given without suffix: ``"exercises/focus-slopes"``.

    Raises
    ------
    ValueError
        If the address is not of the form https://github.com/OWNER/NAME.
    """
    owner, name = owner_and_name(repository)
    return f"https://colab.research.google.com/github/{owner}/{name}/blob/colab/{page}.ipynb"


def site_address(repository: str) -> str:
    """Return where GitHub Pages serves a repository.

    Raises
    ------
    ValueError
        If the address is not of the form https://github.com/OWNER/NAME.
    """
    owner, name = owner_and_name(repository)
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"
