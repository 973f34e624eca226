"""Several data-plane processes in one pod: the supervisor that starts them, and the line between them.

One control process has the store, the keys, the logout endpoint and the relay. The workers carry the app's traffic,
each with a replica of its own, and ask the control process for everything else. Not a composition root: `app` says
what runs in each process.
"""
