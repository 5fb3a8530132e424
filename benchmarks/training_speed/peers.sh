#!/bin/sh
# Makes the virtual environments of the peers: sh peers.sh FOLDER. Their pins differ from each other's and from lwa's.
# pandas reads Parquet with pyarrow, which RecTools does not bring, and whose newer versions do not take its numpy.
# pip must find torch's CPU build (version ...+cpu); with a CUDA build the CPU figures would be others.
set -eu
mkdir -p "$1"
for peer in "rectools[torch]==0.19.0" "replay-rec[torch]==0.22.0"; do
    name=${peer%%[[-]*}
    arrow=; [ "$name" = rectools ] && arrow="<20"
    python3.11 -m venv "$1/$name"
    "$1/$name/bin/pip" install --quiet "torch==2.13.0+cpu" "pyarrow$arrow" "$peer"
done
