package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"weir/bench/path"
	"weir/bench/traffic"
)

// masquerade compares connections of pods to the world with those of nodes that
// masquerade by netfilter.
func (b *bench) masquerade(ctx context.Context) (err error) {
	set, err := path.MakeMasquerade(ctx, b.prefix, filepath.Join(b.dir, "masquerade"), b.bin)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	stop, err := b.serveAll(ctx, set.Paths)
	defer stop()
	if err != nil {
		return err
	}
	kinds := []traffic.Kind{traffic.CRR, traffic.RR}
	all, err := b.inTurn(ctx, set.Paths, kinds, b.rounds)
	if err != nil {
		return err
	}
	var list []against
	for _, kind := range kinds {
		b.report.add(os.Stdout, ratesTable("Masquerading", kind, set.Paths, all))
		want := 0.0
		if kind == traffic.CRR {
			want = 1.2
		}
		list = append(list, against{kind, path.MasqueradedAgain, path.Masqueraded, 0},
			against{kind, path.Masqueraded, path.MasqueradedNft, want}, against{kind, path.Masqueraded, path.MasqueradedIpt, 0},
			against{kind, path.NotMasqueraded, path.MasqueradedNft, 0}, against{kind, path.NoNode, path.MasqueradedNft, 0})
	}
	b.ratios("Masquerading", all, list)
	return nil
}
