"""What holds for the images of an experiment: an id is one picture, and following parents ends."""

from nepotism.data.images import read_records


def check_provenance(files):
    """All rows of image sets: an id is one picture, and its ancestors are known, and end."""
    pictures, rows = {}, {}
    for file in files:
        for record in read_records(file):
            assert pictures.setdefault(record.id, record.sha256) == record.sha256, record.id
            rows[record.id] = record
    for record in rows.values():
        seen, front = set(), {record.id}
        while front:
            seen |= front
            for name in front:
                assert name in rows, f"{record.id} descends from {name}, which is stored nowhere"
                if not rows[name].parents:
                    assert rows[name].origin == "real" or rows[name].rng, name
            parents = {parent for name in front for parent in rows[name].parents}
            assert record.id not in parents, f"{record.id} is among its own ancestors"
            front = parents - seen
    return rows
