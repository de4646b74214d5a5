import '@testing-library/jest-dom/vitest'
import { cleanup, configure } from '@testing-library/react'
import { afterEach, vi } from 'vitest'

// Long enough for a busy machine; a condition that holds ends the wait at once.
configure({ asyncUtilTimeout: 15_000 })

// What Mantine asks of a browser and jsdom does not have.
Object.defineProperty(window, 'matchMedia', {
  writable: true,
  value: (query: string) => ({
    matches: false,
    media: query,
    onchange: null,
    addEventListener: vi.fn(),
    removeEventListener: vi.fn(),
    dispatchEvent: vi.fn(),
  }),
})
Object.defineProperty(document, 'fonts', { value: new EventTarget() })
class NoResizeObserver implements ResizeObserver {
  observe(): void {
    // Nothing is laid out in jsdom.
  }
  unobserve(): void {
    // As above.
  }
  disconnect(): void {
    // As above.
  }
}
globalThis.ResizeObserver = NoResizeObserver
Element.prototype.scrollIntoView = vi.fn()
window.scrollTo = vi.fn()
// The accessibility checker asks for it and can do without.
HTMLCanvasElement.prototype.getContext = vi.fn(() => null)

afterEach(() => {
  cleanup()
  localStorage.clear()
})
