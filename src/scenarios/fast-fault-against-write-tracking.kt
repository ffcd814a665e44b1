# Fast page faults make pages writable again while one of them becomes write-tracked, and stops being so.
vm vcpus=2 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m flags=1
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=17 op=w
getlog 1
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=w
thread tracker
track gfn=16
untrack gfn=16
