package agent

import (
	"sync"
	"time"

	"weir/internal/reconcile"
	"weir/state"
)

// observer records the runs of one reconcile loop in the table controllers. A
// part without a loop never calls it and has no row.
func (a *Agent) observer(name string) reconcile.Observer {
	var mu sync.Mutex
	row := state.ControllerState{Name: name}
	return func(took time.Duration, err error) {
		a.recorder.Run(name, took, err)
		mu.Lock()
		defer mu.Unlock()
		row.Runs++
		a.log.Debug("reconciled", "part", name, "run", row.Runs, "err", err)
		if err != nil {
			row.Failures++
			row.Consecutive++
			row.LastError, row.LastFailure = err.Error(), time.Now()
			if row.Consecutive == 1 {
				row.Failing = row.LastFailure
			}
		} else {
			row.Consecutive, row.LastError, row.LastSuccess, row.Failing = 0, "", time.Now(), time.Time{}
		}
		a.tables.Controls.Put(row)
	}
}
