import { describe, expect, it } from 'vitest'
import { withQmp } from './arguments.ts'

describe('--qmp SOCKET', () => {
  it('becomes the input of the command', () => {
    expect(withQmp(['show', '--qmp', '/run/qmp', '-v'])).toEqual(['show', '/run/qmp', '-v'])
    expect(withQmp(['walk', '00:06.0', '0x1000', '--qmp=/run/qmp', '--write'])).toEqual([
      'walk',
      '/run/qmp',
      '00:06.0',
      '0x1000',
      '--write',
    ])
  })

  it('is left alone where it says nothing', () => {
    for (const args of [['show', 'x'], ['show', '--qmp'], ['--qmp', 'x'], ['show', '--qmp='], []])
      expect(withQmp(args)).toEqual(args)
  })
})
