package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"weir/bench/feed"
	"weir/bench/stat"
	"weir/test/fakeapi"
)

// kubeChild is the argument with which bench starts itself as an agent's source.
const kubeChild = "kube-follow"

// kube measures an agent's source at an API server with the objects of a large
// cluster: how long it takes, what it holds, and how soon it sees a change.
func (b *bench) kube(ctx context.Context) error {
	size, changes := feed.Size{Nodes: 5000, Pods: 50000, Services: 10000}, 1000
	if b.quick {
		size, changes = feed.Size{Nodes: 100, Pods: 1000, Services: 100}, 50
	}
	api := fakeapi.New()
	api.Protobuf = true // as real ones answer
	if err := feed.Each(size, api.Put); err != nil {
		return err
	}
	if err := api.Start(); err != nil {
		return err
	}
	defer api.Close()
	dir := filepath.Join(b.dir, "kube")
	first, one, err := b.follow(ctx, api, dir, size, changes)
	if err != nil {
		return err
	}
	again, _, err := b.follow(ctx, api, dir, size, 0)
	if err != nil {
		return err
	}
	api.Down()
	alone, _, err := b.follow(ctx, api, dir, size, 0)
	if err != nil {
		return err
	}
	t := table{Title: "Objects of a large cluster", Columns: []string{"start", "ready s", "CPU s", "RSS MiB", "at rest MiB", "peak MiB"},
		Notes: []string{fmt.Sprintf("%d nodes, %d pods, %d services of %d endpoints; source and tables in a process of their own, the server beside it on the same CPUs.", size.Nodes, size.Pods, size.Services, feed.Backends)}}
	for _, x := range []struct {
		what string
		told feed.Told
		rest feed.Told
	}{{"first", first[0], first[1]}, {"again", again[0], again[1]}, {"without a server", alone[0], alone[1]}} {
		t.Rows = append(t.Rows, row{Cells: []string{x.what, number(x.told.Ready.Seconds()), number(x.told.CPU.Seconds()), mib(x.told.RSS), mib(x.rest.RSS), mib(x.rest.Peak)}})
	}
	p99 := stat.Percentile(one, 99)
	t.Notes = append(t.Notes, fmt.Sprintf("One change of a pod, from the server to its row, over %d: p50 %s ms, p99 %s ms.", len(one), number(stat.Median(one)), number(p99)))
	b.report.add(os.Stdout, t)
	b.report.goal("objects of a large cluster, ready", "<= 10 s", number(first[0].Ready.Seconds())+" s", first[0].Ready <= 10*time.Second)
	for _, want := range []int{250, 120} {
		b.report.goal("objects of a large cluster, RSS at rest", fmt.Sprintf("<= %d MiB", want), mib(first[1].RSS)+" MiB", first[1].RSS <= want<<10)
	}
	b.report.goal("one change in a large cluster, p99", "<= 20 ms", number(p99)+" ms", p99 <= 20)
	return nil
}

func mib(kib int) string { return fmt.Sprint((kib + 512) >> 10) }

// follow starts a source, and returns what it said when it was ready and at rest,
// and how long each change took in ms.
func (b *bench) follow(ctx context.Context, api *fakeapi.Server, dir string, size feed.Size, changes int) (told [2]feed.Told, one []float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := self(ctx, kubeChild, api.URL(), dir)
	cmd.Env = os.Environ() // an agent's runtime has its defaults
	out, err := cmd.StdoutPipe()
	if err != nil {
		return told, nil, err
	}
	if err := cmd.Start(); err != nil {
		return told, nil, fmt.Errorf("start a source: %w", err)
	}
	defer func() {
		if end := cmd.Process.Signal(os.Interrupt); end == nil {
			err = errors.Join(err, cmd.Wait())
		}
	}()
	in := json.NewDecoder(out)
	if err := in.Decode(&told[0]); err != nil {
		return told, nil, fmt.Errorf("a source says nothing: %w", err)
	}
	if told[0].Pods != size.Pods {
		return told, nil, fmt.Errorf("a source has %d pods, want %d", told[0].Pods, size.Pods)
	}
	for i := 0; i < changes; {
		round := fmt.Sprint(i)
		began := time.Now()
		if err := api.Put(feed.Pod(i%size.Pods, size.Nodes, round)); err != nil {
			return told, nil, err
		}
		for seen := ""; seen != round; {
			var t feed.Told
			if err := in.Decode(&t); err != nil {
				return told, nil, fmt.Errorf("a source does not see change %d: %w", i, err)
			}
			seen = t.Round
		}
		one = append(one, ms(time.Since(began)))
		i++
	}
	for quiet := 0; quiet < 2; quiet++ { // the first may come at once
		if err := in.Decode(&told[1]); err != nil {
			return told, nil, fmt.Errorf("a source says nothing at rest: %w", err)
		}
	}
	return told, one, nil
}

// kubeFollow is the other side of follow.
func kubeFollow(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("want " + kubeChild + " URL FOLDER")
	}
	return feed.Follow(ctx, args[0], args[1], os.Stdout)
}
