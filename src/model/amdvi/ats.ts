/**
 * PCIe ATS: translation requests, and requests whose address a device translated before. AMD IOMMU specification (48882), 2.1.3
 * "Translation Requests", 2.5.9. Page faults of translation requests are no events: the device learns that it has no access.
 */
import { neededRight, PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { WAY_ABORT } from '../../format/amdvi/context.ts'
import {
  INVALID_DEVICE_REQUEST,
  IO_PAGE_FAULT,
  REQUEST_ATS_DISABLED,
  REQUEST_ATS_INVALID_RANGE,
  REQUEST_PRETRANSLATED,
} from '../../format/amdvi/events.ts'
import { WALK_OK } from '../../format/pt/walker.ts'
import { ACCESS_MASK, DONE, EXECUTE, PRIVILEGED, WRITE } from '../common/request.ts'
import type { Context, Device } from './config.ts'
import { refuseContext, refuseSpecial, refuseWalk } from './refusals.ts'
import { fate, kindOf, MEMORY, TRANSLATE } from './special.ts'
import type { Translator } from './translate.ts'

/** A translation request of a device that has a legal entry. */
export function atsRequest(t: Translator, device: Device): number {
  // 2.5.9: I, V and TV must be 1.
  if (!device.ats || device.way === WAY_ABORT) return refuseSpecial(t, device, REQUEST_ATS_DISABLED)
  const kind = kindOf(t.hi, t.lo, t.hyperTransport)
  if (kind !== MEMORY && fate(kind, device, true) !== TRANSLATE) return refuseSpecial(t, device, REQUEST_ATS_INVALID_RANGE)
  if (t.excluded(device)) return t.identity(12)
  const context = t.context(device)
  if (context.code !== 0) return refuseContext(t, context)
  if (context.space === null) {
    t.identity(52)
    return grant(t, context, context.allowed, false)
  }
  const cached = t.cachedRights(context)
  if (cached !== null) return grant(t, context, cached, false)
  const { walker } = t
  const { space } = context
  // Rights are told, not enforced; a write that is asked for, and may happen, makes the page dirty.
  if (walker.walk(space, t.hi, t.lo, 0, false) !== WALK_OK) return refuseWalk(t, context, space, false)
  const writes = (t.flags & ACCESS_MASK) === WRITE ? walker.rights & context.allowed & writeRight(t) : 0
  if (t.live && granted(t, context, walker.rights & context.allowed) !== 0)
    if (walker.walk(space, t.hi, t.lo, writes, true) !== WALK_OK) return refuseWalk(t, context, space, false)
  const clean = t.clean(space) && (t.live || writes === 0)
  t.fromWalk(context)
  return grant(t, context, t.rights, clean)
}

function writeRight(t: Translator): number {
  return neededRight('write', t.pasid >= 0 && (t.flags & PRIVILEGED) !== 0)
}

/** Of what the tables allow, the rights of the request's privilege; execution when it is asked for, with a PASID. */
function granted(t: Translator, context: Context, rights: number): number {
  const privileged = t.pasid >= 0 && (t.flags & PRIVILEGED) !== 0
  const executes = t.pasid >= 0 && (t.flags & ACCESS_MASK) === EXECUTE
  const [read, write, execute] = privileged ? [PR, PW, PX] : [UR, UW, UX]
  const readable = rights & context.allowed & read
  return readable | (rights & write) | (executes && readable !== 0 ? rights & execute : 0)
}

/** Cuts the result to what is granted: writing only where the page is dirty. */
function grant(t: Translator, context: Context, rights: number, clean: boolean): number {
  const given = granted(t, context, rights) & (clean ? ~(UW | PW) : ~0)
  if (given === 0) {
    const { device, guest } = context
    const why = 'the tables grant nothing of what is asked (2.1.3)'
    return t.refuse({ code: IO_PAGE_FAULT, why, guest, device, stage: guest ? 1 : 2 })
  }
  t.rights = given
  return DONE
}

/** A request whose address the device translated: it passes, for a device that may. */
export function translatedRequest(t: Translator, device: Device): number {
  if (device.ats) return t.identity(52)
  return t.refuse({
    code: INVALID_DEVICE_REQUEST,
    type: REQUEST_PRETRANSLATED,
    why: 'a translated request, and DTE.I or DTE.V is 0 (2.5.9)',
    guest: t.pasid >= 0,
    device,
  })
}
