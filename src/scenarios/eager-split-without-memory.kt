# Logging begins while page-table pages are short: eager splitting gives up, faults split, and another slot is deleted.
vm vcpus=2 entries=4 code=0 kernel=5.18
mem m type=2m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=20 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread vcpu1
touch vcpu=1 gfn=21 op=w
thread ioctl
allocfail every=2
setflags 1 flags=1
