package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/ns"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"

	"weir/api/agent"
)

// limit ends a call of which the agent says nothing within five seconds, the start of
// the process included. Kubelet waits far longer; it is better told to try again than
// kept waiting.
const limit = 4500 * time.Millisecond

// most ends an ADD that the agent says it is working at. On a node with much to do it
// is better waited for: what is given up has to be undone and done again.
const most = 30 * time.Second

// plugin is one call.
type plugin struct {
	limit, most time.Duration
	stdout      io.Writer
}

// Main serves the call that the environment describes and returns the exit
// code. The error, if any, is JSON on stdout, as the protocol has it.
func Main() int { return (&plugin{limit: limit, most: most, stdout: os.Stdout}).main() }

func (p *plugin) main() int {
	funcs := skel.CNIFuncs{
		Add:    p.verb("ADD", p.add),
		Del:    p.verb("DEL", p.del),
		Check:  p.verb("CHECK", p.check),
		GC:     p.verb("GC", p.gc),
		Status: p.verb("STATUS", p.status),
	}
	err := skel.PluginMainFuncsWithError(funcs, version.All, "weir-cni, the CNI plugin of Weir")
	if err == nil {
		return 0
	}
	if err := json.NewEncoder(p.stdout).Encode(err); err != nil {
		fmt.Fprintln(os.Stderr, "write CNI error:", err)
	}
	return 1
}

// call is what every verb gets: who is meant, how the plugin is configured,
// and the agent.
type call struct {
	*conf
	args   *skel.CmdArgs
	client *agent.Client
	issued int64 // when the plugin was started, in nanoseconds of CLOCK_MONOTONIC
}

func (c *call) attachment() agent.Attachment {
	return agent.Attachment{ContainerID: c.args.ContainerID, Interface: c.args.IfName, Netns: c.args.Netns, Issued: c.issued}
}

func (c *call) queue() string { return filepath.Join(c.RunDir, "deleteQueue") }

// monotonic is the time since boot, the same for all processes; 0 when the
// kernel does not say.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// verb surrounds a verb with what all have in common: configuration, limit, log.
func (p *plugin) verb(name string, do func(context.Context, *call) error) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		ctx, cancel := agent.WhileWorking(context.Background(), p.limit, p.most)
		defer cancel()
		start, issued := time.Now(), monotonic()
		conf, err := parse(args.StdinData)
		if err != nil {
			return err
		}
		if name != "DEL" && name != "GC" {
			if err := conf.check(); err != nil {
				return err
			}
		}
		err = do(ctx, &call{conf: conf, args: args, client: agent.NewClient(conf.Socket), issued: issued})
		record(conf.LogFile, slog.String("verb", name), slog.String("container", args.ContainerID),
			slog.String("interface", args.IfName), slog.String("netns", args.Netns),
			slog.Duration("took", time.Since(start)), slog.Any("err", err))
		return err
	}
}

// record appends a line to the log. A log that cannot be written is no reason
// to leave a pod without network, so it is only said on stderr.
func record(file string, attrs ...any) {
	if file == "" {
		return
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, "open log-file:", err)
		return
	}
	defer f.Close()
	slog.New(slog.NewTextHandler(f, nil)).Info("call served", attrs...)
}

// refusal turns what the client returned into a CNI error: the agent's own
// words under its code, or away when nobody answered.
func refusal(err error, away agent.ErrorCode) error {
	if err == nil {
		return nil
	}
	var refused *agent.Error
	if !errors.As(err, &refused) {
		return types.NewError(uint(away), "weir-agent does not answer, try again later", err.Error())
	}
	if refused.Code == 0 {
		refused.Code = agent.CodeInternal
	}
	return types.NewError(uint(refused.Code), refused.Message, refused.Details)
}

// foreign refuses the network namespace the plugin itself runs in: an
// interface there would be the node's, not a pod's. An operator who means it
// sets CNI_NETNS_OVERRIDE, as in all plugins.
func foreign(args *skel.CmdArgs) error {
	if args.NetnsOverride != "" {
		return nil
	}
	own, err := ns.CheckNetNS(args.Netns)
	if err != nil {
		return err
	}
	if own {
		return types.NewError(types.ErrInvalidNetNS,
			fmt.Sprintf("CNI_NETNS %s is the network namespace of the node itself, not of a container", args.Netns), "")
	}
	return nil
}
