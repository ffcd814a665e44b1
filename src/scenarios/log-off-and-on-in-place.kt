# As log-off-and-on, in the kernels that put huge pages in the place of tables.
vm vcpus=1 entries=4 code=0 kernel=6.13
mem m type=2m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m flags=1
touch vcpu=0 gfn=16 n=2 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
touch vcpu=0 gfn=16 op=w
thread ioctl
setflags 1 flags=0
thread vmm
setflags 1 flags=1
getlog 1
