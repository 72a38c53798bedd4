"""Stage download: fetch the data set's archives into FMA_HOME, and write their receipt to data/archives.json."""

from tqdm import tqdm

from fma_genre.archives import zips
from fma_genre.archives.receipt import RECEIPT, write_receipt
from fma_genre.common import stage
from fma_genre.common.params import Params
from fma_genre.fetch.sources import fetch


def main(params: Params) -> None:
    receipt = fetch(params.dataset, params.data_set)
    for archive in (receipt.metadata, receipt.audio):
        zips.open_zip(archive.path).close()  # fail here, not in a later stage, if the file is not a zip archive
        print(f"{archive.name}: {tqdm.format_sizeof(archive.size, 'B')}, sha1 {archive.sha1}")
    write_receipt(RECEIPT, receipt)


if __name__ == "__main__":
    stage.run("download", main)
