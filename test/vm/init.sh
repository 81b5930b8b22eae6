#!/bin/busybox sh
# Process 1 of the guest: runs /steps/* one after the other inside the system disk, sends what they wrote to the host as a tar
# archive, and says on the console whether the disks could be unmounted (docs/spec/vm-testing.md, sections 4 and 5).
export PATH=/bin
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module" || echo "VM: $module was not loaded"; done
for i in $(seq 100); do [ -b /dev/vda ] && break; sleep 0.1; done
mount -t ext4 -o ro /dev/vda /root || { echo "VM: no system disk"; poweroff -f; }
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
for place in run tmp; do mount -t tmpfs "$place" "/root/$place"; done
for disk in data plain; do
  # A step must see a mount point, or what it writes could not be told from what the disk holds.
  device=$(findfs LABEL=$disk) && { mount -t ext4 "$device" "/root/disks/$disk" || echo "VM: $disk was not mounted"; }
done
mkdir /root/run/out
cp -r /steps /root/run/
[ ! -d /late ] || cp -r /late /root/run/
for path in /steps/*; do
  step=${path##*/}
  read -r now rest </proc/uptime
  echo "VM: $now s: $step"
  chroot /root /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp timeout 150 /bin/sh "/run/steps/$step" \
    >"/root/run/out/$step.out" 2>"/root/run/out/$step.err" </dev/null
  echo $? >"/root/run/out/$step.status"
done
dmesg >/root/run/out/kernel.log
for port in /dev/vport*p1; do tar -C /root/run/out -cf - . >"$port"; done
sync
while umount /root/mnt 2>/dev/null; do :; done
for disk in data plain; do
  while mountpoint=$(grep " /root/disks/$disk" /proc/mounts | tail -n 1 | cut -d ' ' -f 2) && [ -n "$mountpoint" ]; do
    umount "$mountpoint" || { echo "VM: $mountpoint is busy"; poweroff -f; }
  done
done
read -r now rest </proc/uptime
echo "VM: $now s: end"
poweroff -f
