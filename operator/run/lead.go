package run

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// elect waits for the lease and works for as long as it is this replica's. The
// work has ended before the lease is given up, so that two never work at once.
func (o *Operator) elect(ctx context.Context) error {
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	started, ended := make(chan context.Context, 1), make(chan struct{})
	lease := o.cfg.Lease
	e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: lease.Name,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: lease.Namespace, Name: lease.Name},
			Client:     o.kube.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: o.name},
		},
		LeaseDuration: lease.Duration, RenewDeadline: lease.Renew, RetryPeriod: lease.Retry, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { started <- ctx },
			OnStoppedLeading: func() {},
			OnNewLeader:      func(who string) { o.report.leads(who); o.log.Info("leader", "name", who, "self", who == o.name) },
		},
	})
	if err != nil {
		return err
	}
	go func() {
		defer close(ended)
		e.Run(electing)
	}()
	giveUp := func() {
		stop()
		<-ended
	}
	defer giveUp()
	var leading context.Context // ends with the lease
	select {
	case <-ctx.Done():
		return nil
	case leading = <-started:
	}
	work, cancel := context.WithCancel(leading)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	err = o.work(work)
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(err, errors.New("the lease is another's, or could not be renewed in time"))
}
