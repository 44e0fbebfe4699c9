def test_gallery_draws_a_sheet_with_an_uneven_last_row(tmp_path):
    from PIL import Image

    from g3pt.procedural.gallery import draw_gallery

    path = tmp_path / "gallery.png"
    families = ("mug", "chair", "car")
    draw_gallery(path, families=families, per_family=1, columns=2, size=32, resolution=32)
    with Image.open(path) as picture:
        assert picture.width > 64
        assert picture.convert("L").getextrema()[0] < 200
