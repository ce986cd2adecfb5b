/** Unrecoverable faults: whose they are, who hears of them, and whether a log would show them (SYSTEM.md section 3, the three phases). */
import { type Core, reservedWindow } from './context.ts'
import type { Device } from './device.ts'
import type { FaultReport } from './driver.ts'
import type { Phase } from './events.ts'

/** Reports a fault to the domain's handler, by the phase of what it used. */
export function reportFault(core: Core, report: FaultReport): void {
  const device = report.device === null ? null : (core.devices.get(report.device) ?? null)
  const domain = device?.domain ?? null
  const ioMm = report.pasid === null ? undefined : domain?.attachments.get(report.pasid)?.ioMm
  const phase = phaseOf(device, report.pasid)
  const silent = phase === 'exited'
  const handled = !silent && device !== null && (domain?.onFault?.(report, device) ?? false)
  // A process can cause faults in its own space at will; a private space is its driver's.
  const logged = !silent && !handled && !(phase === 'bound' && ioMm !== undefined && ioMm.mm !== null)
  core.log({ kind: 'fault', report, device, domain, phase, logged, handled, note: noteOn(core, report, device, phase) })
}

function phaseOf(device: Device | null, pasid: number | null): Phase | null {
  // PASIDs of a nested domain are the guest's: nothing of ours was ever bound there.
  if (pasid === null || device === null || device.domain?.kind === 'nested') return null
  const ioMm = device.domain?.attachments.get(pasid)?.ioMm
  if (ioMm === undefined) return 'unbound'
  return ioMm.state === 'live' && (ioMm.mm === null || ioMm.mm.alive) ? 'bound' : 'exited'
}

function noteOn(core: Core, report: FaultReport, device: Device | null, phase: Phase | null): string | null {
  const { address } = report
  const window = address === null ? null : reservedWindow(core.driver, address, address + 1n)
  if (window !== null) return `the address lies in a window that devices cannot use for memory: ${window}`
  if (device === null) return report.device === null ? null : `no device has the number 0x${report.device.toString(16)}`
  if (phase !== 'unbound') return null
  return `PASID ${report.pasid} is not bound: the driver of ${device.name} did not stop the device before it unbound, or never bound`
}
