#!/bin/sh
# Writes a store with RocksDB's `ldb`: make.sh SCRIPT DIR. Each line is a process of its own, so what its predecessor
# left in the log goes to a table; each pair that it loads is a record of its own.
set -eu
tables="--auto_compaction=false --block_size=256 --bloom_bits=10 --compression_type=lz4"
while read -r command family arguments; do
  # Unquoted: the words that `ldb` wants one by one.
  case $command in
    family) ldb --db="$2" create_column_family "$family" ;;
    compact) ldb --db="$2" --column_family="$family" compact ;;
    load)
      printf '%s ==> %s\n' $arguments |
        ldb --db="$2" $tables --create_if_missing --column_family="$family" load
      ;;
    *) ldb --db="$2" $tables --column_family="$family" "$command" $arguments </dev/null ;;
  esac
done <"$1"
rm -f "$2"/OPTIONS-* "$2"/LOG*
