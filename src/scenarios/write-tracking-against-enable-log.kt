# A gfn becomes write-tracked while logging write-protects it and has not flushed yet; the guest goes on writing.
vm vcpus=2 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread ioctl
setflags 1 flags=1
thread tracker
track gfn=16
