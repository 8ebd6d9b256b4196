"""Functions as zips."""
import io
import zipfile


def package(files, modes=()):
    """A zip of {name: text}."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = dict(modes).get(name, 0o100644) << 16
            z.writestr(info, text)
    return out.getvalue()
