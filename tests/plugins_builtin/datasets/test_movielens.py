import pytest
from as_texts import as_texts

from lwa_core.errors import DataError
from lwa_plugins.datasets.movielens import MovieLens

U_ITEM = "1|Caf\xe9 (1995)|01-Jan-1995||http://x|" + "|".join("1" if g in (3, 5) else "0" for g in range(19)) + "\n"
RELEASES = {
    "100k": {"u.data": "7\t1\t4\t881250949\n", "u.item": U_ITEM},
    "1m": {"ratings.dat": "7::1::4::881250949\n", "movies.dat": "1::Caf\xe9 (1995)::Animation|Comedy\n"},
    "latest": {
        "ratings.csv": "userId,movieId,rating,timestamp\n7,1,4.0,881250949\n",
        "movies.csv": 'movieId,title,genres\n1,"Caf\xe9 (1995)",Animation|Comedy\n2,"B, or ""C""",(no genres listed)\n',
    },
}


def unpacked(folder, release):
    for name, text in RELEASES[release].items():
        (folder / name).write_text(text, encoding="utf-8" if name.endswith(".csv") else "latin-1")
    return MovieLens(path=folder)


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_reads_the_same(tmp_path, release):
    dataset = unpacked(tmp_path, release)

    source = dataset.read()

    assert [("7", "1", 4.0, 881250949.0)] == as_texts(source).rows()
    if release == "100k":
        assert ["Animation", "Comedy"] == source.items["categories"][0].to_list()
    assert ("1", "Caf\xe9 (1995)", ["Animation", "Comedy"]) == source.items.row(0)
    assert "timestamp" == source.order
    assert [tmp_path / name for name in RELEASES[release]] == list(dataset.files())


def test_no_genres_and_quotes(tmp_path):
    assert ("2", 'B, or "C"', []) == unpacked(tmp_path, "latest").read().items.row(1)


def test_ratings_do_without_movies(tmp_path):
    dataset = unpacked(tmp_path, "1m")
    (tmp_path / "movies.dat").unlink()

    assert dataset.read().items is None


def test_two_releases_in_one_folder(tmp_path):
    unpacked(tmp_path, "1m")

    with pytest.raises(DataError, match=r"holds ratings\.dat and u\.data, and just one can be meant"):
        unpacked(tmp_path, "100k").files()


def test_a_malformed_movie(tmp_path):
    dataset = unpacked(tmp_path, "1m")
    (tmp_path / "movies.dat").write_text("1::A::War\n2::B\n")

    with pytest.raises(DataError, match=r"movies\.dat:2: 2 fields, where 3 are expected"):
        dataset.read()
