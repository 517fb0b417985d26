"""Files of the pages: found by their hash, modules by each other's names."""

from clinlens.desk.pages import assets


def test_a_module_is_named_with_all_that_it_imports():
    found = assets.modules("result.js")
    assert found[0] == "result.js"
    assert {"requests.js", "matrix.js", "token_strip.js"} <= set(found)
    assert "overview.js" not in found
    assert "panels.js" not in found, "what the first view does not need comes later"


def test_every_import_of_a_module_is_a_file_that_is_served():
    for name in assets.assets():
        if name.endswith(".js"):
            assert set(assets.modules(name)) <= set(assets.assets()), name


def test_only_the_present_version_is_served():
    assert assets.serve(assets.digest(), "stage.js") is not None
    assert assets.serve("0" * 16, "stage.js") is None
    assert assets.serve(assets.digest(), "../pages/assets.py") is None


def test_no_module_writes_markup():
    text = b"".join(data for name, data in assets.assets().items() if name.endswith(".js"))
    for word in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
        assert word not in text
