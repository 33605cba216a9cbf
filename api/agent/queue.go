package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The delete queue is a folder that the plugin and the agent share: one JSON
// file for each attachment that was to go while no agent answered. The lock is
// on the folder itself (flock), so it dies with whoever holds it.
//
//	plugin: shared lock, ask the agent once more, write the file
//	agent:  listen on the socket, exclusive lock, do and remove each file
//
// An agent that listens before it drains therefore loses nothing: either the
// plugin's second question reaches it, or the file was there before the lock.
const (
	queueSuffix = ".json"
	queueTemp   = ".tmp-"
	queueBroken = ".broken"
	queuePoll   = 10 * time.Millisecond
)

// EnqueueDelete writes down that a is to be deleted, after ask has found once
// more that no agent answers; ask runs with the lock held. An answer, good or
// bad, is returned as it is and nothing is written. The same attachment is
// queued once however often it is asked for.
func EnqueueDelete(ctx context.Context, dir string, a Attachment, ask func(context.Context) error) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make delete queue: %w", err)
	}
	lock, err := lockQueue(ctx, dir, syscall.LOCK_SH)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := ask(ctx); Answered(err) {
		return err
	}
	return writeQueued(lock, dir, a)
}

// ForgetDelete takes a out of the queue: a later ADD of the same name worked,
// so what was to be deleted is gone, and the entry would hit its successor.
func ForgetDelete(dir string, a Attachment) error {
	err := os.Remove(filepath.Join(dir, queueName(a)))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget queued delete: %w", err)
	}
	return nil
}

// DrainDeletes calls do for every queued delete and removes those that
// succeeded, whose number it returns. What failed stays for the next time; a
// file that cannot be read is set aside under its name with ".broken".
func DrainDeletes(dir string, do func(Attachment) error) (int, error) {
	lock, err := lockQueue(context.Background(), dir, syscall.LOCK_EX)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("read delete queue: %w", err)
	}
	done, problems := 0, []error(nil)
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		switch {
		case strings.HasPrefix(f.Name(), queueTemp):
			os.Remove(path) // its writer died: nobody else writes while we hold the lock
		case strings.HasSuffix(f.Name(), queueSuffix):
			if err := drainOne(path, do); err != nil {
				problems = append(problems, err)
				continue
			}
			done++
		}
	}
	return done, errors.Join(problems...)
}

func drainOne(path string, do func(Attachment) error) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read queued delete: %w", err)
	}
	var a Attachment
	err = json.Unmarshal(b, &a)
	if err == nil && a.ContainerID == "" {
		err = errors.New("it names no container")
	}
	if err != nil {
		err = errors.Join(err, os.Rename(path, path+queueBroken))
		return fmt.Errorf("queued delete %s (set aside with %s): %w", path, queueBroken, err)
	}
	if err := do(a); err != nil {
		return fmt.Errorf("queued delete of container %s interface %s: %w", a.ContainerID, a.Interface, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove queued delete: %w", err)
	}
	return nil
}

// Answered reports whether an agent spoke: err is nil, or a refusal of its own.
// Everything else (no socket, no listener, no answer in time, half an answer)
// is as if it were down.
func Answered(err error) bool {
	var refused *Error
	return err == nil || errors.As(err, &refused)
}

// lockQueue polls because a blocking flock cannot be given a deadline.
func lockQueue(ctx context.Context, dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open delete queue: %w", err)
	}
	tick := time.NewTicker(queuePoll)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock delete queue %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock delete queue %s: %w", dir, ctx.Err())
		case <-tick.C:
		}
	}
}

// writeQueued makes the entry appear whole or not at all, also when the power
// fails: content first, then the name, then the folder.
func writeQueued(lock *os.File, dir string, a Attachment) error {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode queued delete: %w", err)
	}
	f, err := os.CreateTemp(dir, queueTemp) // mode 0600
	if err != nil {
		return fmt.Errorf("write queued delete: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, queueName(a)))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write queued delete: %w", err)
	}
	if err := lock.Sync(); err != nil {
		return fmt.Errorf("sync delete queue: %w", err)
	}
	return nil
}

// queueName is a digest since a container ID may be as long as its runtime
// likes, and a file name may not.
func queueName(a Attachment) string {
	sum := sha256.Sum256([]byte(a.ContainerID + "/" + a.Interface))
	return hex.EncodeToString(sum[:16]) + queueSuffix
}
