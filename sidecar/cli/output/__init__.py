"""Output of commands: tables, details, trees and progress."""
