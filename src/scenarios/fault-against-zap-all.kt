# Write faults of two vCPUs against a fast zap of all roots.
vm vcpus=2 entries=4 code=0
mem m size=64K populate=1
slot 1 gfn=208 npages=16 mem=m
touch vcpu=0 gfn=208 op=w
touch vcpu=1 gfn=208 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=209 op=w
thread vcpu1
touch vcpu=1 gfn=216 op=r
thread ioctl
zapall
