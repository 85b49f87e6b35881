"""Event buses and rules, schedules, and pipes."""
